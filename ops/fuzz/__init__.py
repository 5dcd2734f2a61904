"""Evil files and requests by the thousand: what people and attackers might send.

documents  files (evil_files) through intake and layout
http       requests (evil_requests) to a gateway
"""
