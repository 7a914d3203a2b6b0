"""Tells twistd of the `zmnext` service; imports nothing of zmtwist until it is asked for."""

from twisted.application.service import ServiceMaker

zmnext = ServiceMaker("zmnext", "zmtwist.tap", "Control plane for zm-next workers in ZoneMinder", "zmnext")
