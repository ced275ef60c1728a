"""jaxfer.ops"""
