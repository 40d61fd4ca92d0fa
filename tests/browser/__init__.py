"""The pages in a real Chromium, in front of a real daemon."""
