"""How studies are carried out, recorded and written, whatever they ask."""
