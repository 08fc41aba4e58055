"""What training will do, before it is done: data and settings in, a predicted curve out."""
