"""The contract of an executor, which every driver passes."""
