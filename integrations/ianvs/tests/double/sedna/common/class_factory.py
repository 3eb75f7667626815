"""Stands in for sedna's class factory: classes and functions by type and name."""


class ClassType:
    """Those types that models and metrics have."""

    GENERAL = "general"


class ClassFactory:
    """A registry; the interface is sedna's."""

    _registry = {}

    @classmethod
    def register(cls, type_name=ClassType.GENERAL, alias=None):
        """A decorator that registers under `alias`, or under the object's own name."""

        def keep(thing):
            cls._registry[(type_name, alias or thing.__name__)] = thing
            return thing

        return keep

    @classmethod
    def get_cls(cls, type_name, t_cls_name=None):
        """What is registered; ValueError if nothing is."""
        if (type_name, t_cls_name) not in cls._registry:
            raise ValueError(f"can't find class type {type_name} class name {t_cls_name}")
        return cls._registry[(type_name, t_cls_name)]
