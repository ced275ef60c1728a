"""jaxfer.evaluate"""
