"""Mitigation: what the serving side is offered to do about an incident, asked for, and does.

``states`` has what a mitigation is and may become, ``versions`` what is known of older versions, ``offers`` what can be offered now and
why not, ``told`` all of it in words, ``message`` the webhook's body: these are pure. ``rows`` keeps them in the ledger, ``course``
moves them on there, ``serving`` sends.
"""
