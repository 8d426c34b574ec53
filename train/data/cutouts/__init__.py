"""People cut out of the pictures of static cameras, and pasted into others.

After Dwibedi et al., "Cut, Paste and Learn" (ICCV 2017, arXiv 1708.01642), and Ghiasi et al.,
"Simple Copy-Paste" (CVPR 2021, arXiv 2012.07177). Masks need no network: where the camera stands
still, a person is what differs from the empty scene.
"""
