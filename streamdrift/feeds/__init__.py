"""Changes from elsewhere: over HTTP in, on the changes topic out.

``native``, ``pagerduty``, ``openlineage``, ``mlflow``  pure: what a payload says, as changes
``drafts``     what all of them make, and what is checked before it is published
``hook``       a request to an answer: who may, what it says, whether it is safe
``inbox``      where requests wait until what they said is safe
``publisher``  the loop that makes it so
``server``     HTTP, with bounds
"""
