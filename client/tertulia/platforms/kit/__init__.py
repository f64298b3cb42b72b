"""What adapters share, so that an adapter is only its wire. Nothing here knows a single platform.

- `attempts.Attempt`: one attempt at a run, with its checkpoint, its pending requests and the clock.
- `delivery.deliver`: brings a message to its platform once, whatever fails.
- `following.Follower`: reads a run's events and its state until the run ends or waits for a person.
- `requests.PendingRequests`: what a run waits for from a person, settled in the store or on the platform.
- `hits`: what a platform finds that searches conversations, not messages.
- `outages`: waiting for a platform that cannot be reached, and looking for something a bounded number of times.
"""
