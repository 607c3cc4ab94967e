"""What a run's folder has to tell, for people to look at.

`story` holds it as plain values, `reading` takes it from the folder, `figures` draws it for print.

Invariant: a report is made from run folders alone and changes nothing in them; neither the story nor a figure needs
torch or Ray.
"""
