"""Limits of the cost of predictions, in products and numbers held, the same on every machine.

A product is a multiplication in a product of large matrices, of which two cores do about 5e9 a second.
"""

A_MINUTE = 3e11
"""Products of a minute on two cores."""
ADAM = 2 * A_MINUTE
"""Products of Adam's recursion, of which every step is iterated."""
FOLLOWED = 1e11
"""Products of runs that are followed one by one: for a band, or for the fastest learning rate."""
ENSEMBLE = 5e11
"""Products of the losses of many starts in closed form."""
LOSSES = 2**25
"""Losses of a band held at once."""
NUMBERS_AT_ONCE = 2**24
"""Shrink factors held at once, 128 MiB of them."""
ORDERS = 2e10
"""Products of the spread over the orders of the rows."""
OWN_ROWS = 1e10
"""Updates of one number of the second moments that every row keeps, with the rows' own fourth moment."""
OWN_ROWS_A_MINUTE = 5e9
"""About how many of these two cores do."""
ITERATED = 3e8
"""Entries of the second moments that are updated one step at a time; longer runs go by pieces of constant rate."""
ADAM_TRIED = 2.5e10
"""Products of one run of Adam that a diagnosis tries."""
FOLLOWED_RUNS = 1.6e10
"""Products of runs on the rows that stand in for a theory, and of as many for their band: a second of each."""
NEARLY = 2.0
"""Times these that one run may take which then goes to its end."""
OF_TRAINING = 0.05
"""The same as a share of those of a training that takes longer."""
UPDATE, DEEP, ROW, WEIGHT = 5e4, 2e5, 800.0, 9.0
"""What counts in an update of a followed run beside its products: a layer alone, or each of several; a row that is
gathered; a weight."""
OF_PASS = 0.6
"""What a product in it counts, of large matrices that stay in the cache."""
DRAWN = 3e9
"""Products of all runs that are drawn for a diagnosis, in narrow matrices: wide data and long runs have none."""
MODES = 2500
"""Weights, or outputs of all rows, whose eigenvectors are found for the tangent kernel."""
JACOBIAN = 5e7
"""Numbers of a Jacobian that is held at once."""
JACOBIAN_PART = 4e6
"""Numbers of the part of a Jacobian that is worked on at once."""
TANGENT_ROWS = 2**13
"""Rows that the form of the tangent kernel is summed over."""
