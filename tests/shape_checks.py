"""The type checker that makes the jaxtyping annotations of jaxgen checks while tests run."""

from beartype import BeartypeConf, beartype

# An int is a fine float, as for every static checker.
typechecker = beartype(conf=BeartypeConf(is_pep484_tower=True))
