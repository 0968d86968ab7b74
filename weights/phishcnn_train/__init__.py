"""Training, calibration, export and evaluation of PhishCNN models.

URLs are canonicalised and tokenised by the `phishcnn` wheel alone, the very code that serves them,
so that training and serving cannot drift apart.
"""
