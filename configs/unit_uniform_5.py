"""Five uniform inputs instead of 84: the loss is divided by 5 outputs rather than 84, and all is learned."""

from idjax.published.experiments import Claim, Experiment, Run
from idjax.settings import Settings

experiment = Experiment(
    name="unit_uniform_5",
    title="Five inputs instead of 84",
    question="Does it ever reach the identity itself?",
    answer="Keras divides the loss by the number of outputs, so at one learning rate 84 of them learn 84 times more "
    "slowly than one. With 5 the same rate is enough to finish.",
    data="unit-uniform-5",
    runs=(
        Run(
            label="uniform, 5 inputs",
            settings=Settings(learning_rate=0.01, batch_size=80, epochs=100),
            claims=(
                Claim("kernel_error", high=0.0005),
                Claim("explained_variance", low=0.9999),
            ),
        ),
    ),
    published_words="the kernel prints as the identity",
)
