"""jaxfer.models"""
