"""The report's sections: what came out, and under which conditions."""
