"""The local web chat: app listens, access lets people in, and page is what their browsers get.

uploads takes songs, and courier hands them to the service; jobs and views say where they stand; stems, playback,
downloads and files hand out what came of them; errors are sentences with a status.
"""
