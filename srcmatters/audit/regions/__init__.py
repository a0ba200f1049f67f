"""Interventions on regions of an image: does the model look where the disease is?"""
