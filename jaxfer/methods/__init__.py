"""jaxfer.methods"""
