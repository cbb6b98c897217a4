"""What is wrong with a data set's rows and columns."""
