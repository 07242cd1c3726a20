"""The server: an HTTP API and a page, jobs in a folder, and a process that makes the videos.

``kptalk.serve.app.create_app`` gives the ASGI application; all of it is described in docs/serve.md.
"""
