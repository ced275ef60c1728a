"""jaxfer.data"""
