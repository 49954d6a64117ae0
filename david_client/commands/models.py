"""`david models`."""

from david_client.commands import options as o


def models(json: o.Json = False) -> None:
    """List the models that a name finds without a network."""
    from common.program.listing import print_models

    print_models(as_json=json)
