"""What a run's folder has to tell, for people to look at.

`story` holds it as plain values, `reading` takes it from the folder, `page` shows it in a browser,
`figures` draws it for print.

Invariant: a report is made from run folders alone, and adds nothing to them but the page; neither story nor page nor
figures need torch or Ray.
"""
