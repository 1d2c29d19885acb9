"""Who is told of an incident, and when: routes, on-call lists, silences, maintenance windows, inhibition. No I/O, no clock of its own.

``matchers``  conditions on labels, as text
``labels``    an incident's labels, and those of one alert
``tree``      routes with their steps, and which of them an incident takes
``on_call``   whose shift it is
``quiet``     why nobody is told just now
``document``  all of it as a TOML document, checked
``lines``     in which line of the document something stands
``check``     what would become of an alert
"""
