"""At which resolution should a biomedical multimodal model be trained and queried?"""

__version__ = "0.1.0"
