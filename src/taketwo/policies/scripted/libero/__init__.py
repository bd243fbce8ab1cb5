"""The scripted policy for the tasks of `libero_object`: take one thing and put it into the basket."""
