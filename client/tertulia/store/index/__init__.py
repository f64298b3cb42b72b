"""Full-text indexes: what the store asks of one (`base`), and one module for each engine that keeps one."""
