"""Where stages run: in this process, or on Ray; and the progress that people see."""
