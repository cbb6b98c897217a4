"""A local web page on which people label, accept or reject images, and watch a run; needs the extra ``review``."""
