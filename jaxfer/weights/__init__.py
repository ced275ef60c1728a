"""jaxfer.weights"""
