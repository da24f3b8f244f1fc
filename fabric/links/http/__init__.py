"""The Streamable HTTP listener, for clients of both eras, and for WebSockets where they are asked for.

listener.py opens it. service.py makes a link of each request; access.py and admission.py say which requests are allowed. Below
them connection.py keeps requests and answers of one connection in order, request_reader.py and response_head.py know the bytes.
"""
