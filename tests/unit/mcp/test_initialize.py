"""The legacy handshake: the offer of a client, and the revision in its answer."""

from fabric.mcp.initialize import Offer, negotiated, offered


def test_an_offer_is_read_as_far_as_it_follows_the_schema() -> None:
    offer = offered(b'{"params":{"protocolVersion":"2025-06-18","clientInfo":{"name":"c"},"capabilities":{"roots":{}}}}')
    assert (offer.version, bytes(offer.client), bytes(offer.capabilities)) == ("2025-06-18", b'{"name":"c"}', b'{"roots":{}}')
    assert offered(b'{"params":[]}') == offered(b"{}") == Offer()


def test_an_answer_to_initialize_names_a_revision_or_none() -> None:
    assert negotiated(b'{"result":{"protocolVersion":"2025-03-26"}}') == "2025-03-26"
    assert negotiated(b'{"error":{"code":1}}') == negotiated(b'{"result":7}') == ""
