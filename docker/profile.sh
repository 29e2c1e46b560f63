# A login shell (KubeRay starts Ray through one) has set PATH anew by now: the image's own programs come first again.
PATH=/opt/visionjobs/venv/bin:$PATH
export PATH
