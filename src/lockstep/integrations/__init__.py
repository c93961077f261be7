"""The edge: other libraries, each loaded on use. Nothing here is imported by ``import lockstep``."""
