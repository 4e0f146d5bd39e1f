"""The APIs of other products, as their documents show them: views of the same connections."""
