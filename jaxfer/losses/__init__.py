"""jaxfer.losses"""
