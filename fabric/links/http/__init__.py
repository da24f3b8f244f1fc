"""The Streamable HTTP listener, for clients of both eras, and for WebSockets.

listener.py opens it. service.py makes a link of each request; access.py and admission.py decide which requests are allowed.
Below them connection.py keeps the requests and answers of one connection in order, and request_reader.py and response_head.py
parse and write HTTP/1.1.
"""
