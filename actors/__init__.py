"""The data actors: volatile payloads, one package each. They never import each other or the shells."""
