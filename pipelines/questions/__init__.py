"""The auditor's questions: one module for each, one consistent view, every answer with its evidence."""
