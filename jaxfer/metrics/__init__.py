"""jaxfer.metrics"""
