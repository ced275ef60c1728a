"""jaxfer.train"""
