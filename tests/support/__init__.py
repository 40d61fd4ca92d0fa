"""What tests need besides pytest: real parts, and the people who use them."""
