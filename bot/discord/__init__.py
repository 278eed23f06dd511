"""Discord: app connects, commands and desk answer people (orders: what they mean), courier fetches and delivers.

buttons is what is under its messages, http how a request is tried again.
"""
