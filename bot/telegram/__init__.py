"""Telegram: app connects, desk answers messages and taps (orders: what they mean), courier fetches and delivers.

chats is all that is sent to people (media: files; strays: what may have arrived), buttons what is under it, http how a
request is tried again.
"""
