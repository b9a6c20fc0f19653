"""The linear observation: spectral response, blur and decimation, mask; and their estimation from images."""
