"""Independent PyTorch implementations, written from the formulas alone; numpy arrays in, torch tensors out."""
