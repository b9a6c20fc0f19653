"""Sensors: band tables and response functions, one data file per sensor, each with its source.

    >>> from hsgeo.sensors import load_sensor, response_at
    >>> load_sensor("sentinel-2a").band("B8A").centre_nm
    864.71

A sensor of your own
--------------------
Write a YAML file and give its path where a sensor name is asked for (``--sensor my.yaml``,
``load_sensor("my.yaml")``); the tables that come with hsgeo (``hsgeo/sensors/data``) are written the same way::

    title: My camera                    # required
    kind: multispectral                 # required: hyperspectral or multispectral
    bands:                              # required: a list, or the name of a CSV table beside this file
      - name: Blue                      # required
        centre_nm: 485                  # in nm; may be left out where there is a response
        fwhm_nm: 60                     # full width at half maximum in nm; the same
        gsd: 2.0                        # ground sampling distance in m
        mtf: 0.30                       # modulation transfer at the Nyquist frequency of this GSD, 0 to 1
        flag: ""                        # uncalibrated, water vapour, atmospheric or pan
        aliases: [B1]                   # other names of the band
        response: [[440, 0], [450, 0.5], [485, 1], [520, 0.5], [530, 0]]
      - {name: Green, centre_nm: 560, fwhm_nm: 50}
    responses: my.response.csv          # or all responses in one CSV table
    gsd: 4.0                            # for the bands that name none
    source: Data sheet of the maker, 2024
    notes: Anything worth knowing.
    aliases: [mycam]                    # other names of the sensor
    match: ['MYCAM_\\d+']               # regular expressions that its file names or tags contain

A CSV table of bands has a header with the keys of a band (``name`` first; aliases parted by ``|``). A CSV table of
responses has the column ``wavelength_nm`` and one column per band; empty cells do not belong to the band. A response
is relative, on any increasing wavelengths, zero outside its table; without one a band is a Gaussian of its centre and
FWHM. Bands stand in the order of the sensor's products. Every mistake raises `SensorError` with one sentence.

Flags: ``uncalibrated`` and ``water vapour`` bands are not to be trusted; ``atmospheric`` bands look at the air rather
than the ground (Sentinel-2's 60 m bands, cirrus); ``pan`` is the panchromatic band.
"""

from __future__ import annotations

from .catalogue import guess_sensor, load_sensor, sensor_names, sensors_with_band_count
from .model import FLAGS, KINDS, Band, Sensor, mean_mtf
from .response import response_at

__all__ = [
    "FLAGS",
    "KINDS",
    "Band",
    "Sensor",
    "guess_sensor",
    "load_sensor",
    "mean_mtf",
    "response_at",
    "sensor_names",
    "sensors_with_band_count",
]
