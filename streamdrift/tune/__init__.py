"""What `streamdrift tune` finds in a history: pure, from alerts and the state of a bank.

``ladder``       thresholds to try, and the settings with them
``subset``       a bank of those series alone that a higher threshold can change
``tally``        alerts and pages counted, by detector, segment and series
``sensitivity``  the smallest shift that a series can show within an hour
``choice``       which settings meet the budget
``findings``     all of it for one model, as JSON
``text``         the same for a terminal
``toml``         the settings found, as a file
``difference``   what a change of settings would have changed
``markdown``     that, fit for a pull request
"""
